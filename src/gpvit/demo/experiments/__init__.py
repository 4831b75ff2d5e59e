"""What the demo trains, and what came of each training."""
