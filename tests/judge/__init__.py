"""Tests that PyTorch itself judges: its database of modules and of criterions."""
