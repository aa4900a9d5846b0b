"""What is run in a process of its own, because it may crash or hang: each loads one thing, tries it, and prints what it
found as one line of JSON; what goes wrong is its traceback's last line."""
