"""What each kind of model says about an image."""
