"""Your work: one file a module. Fill in the functions that raise NotImplementedError."""
