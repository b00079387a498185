"""What is looked for before requests are sent; the stand-in sends them without it."""

ClientSession = object
