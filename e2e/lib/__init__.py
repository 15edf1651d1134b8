"""What the commands of this directory share. Python 3.9 and its standard library only."""
