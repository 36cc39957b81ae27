"""The verbs of the program, one file each: parse, call the library, show."""
