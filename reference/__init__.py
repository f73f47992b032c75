"""The reference implementation of every module. It is never shipped to students."""
