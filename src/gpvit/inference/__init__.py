"""From a trained model and any picture to results that people read: classes, and what the groups look at."""
