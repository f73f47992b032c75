"""The same interfaces on PyTorch's own kernels. They stand in for the modules of earlier weeks."""
