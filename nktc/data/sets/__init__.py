"""Data sets that are known by name: their facts (`catalogue`), where they lie and how they come here (`finding`,
`getting`, `download`), and a file for each that reads it."""
