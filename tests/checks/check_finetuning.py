"""The graded checks of module 6."""
