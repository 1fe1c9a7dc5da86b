"""What kernels of several families share: configurations, padding, pages."""
