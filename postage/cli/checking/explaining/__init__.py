"""The pages on errors and on the log, for the terminal; the files are those of docs/."""
