"""Records as they are stored, before any transform: checked, counted, compared, described and shown. A file for each
way of storing them."""
