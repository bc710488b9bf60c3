"""What each operation of the language is, declared once; every pass reads it from here."""
