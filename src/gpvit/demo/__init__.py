"""What people look at: the demo and its report."""
