"""The command line: `main` finds the verb, each verb has one file."""
