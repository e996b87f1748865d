"""The commands of ``postage``, one module for each, named as the command."""
