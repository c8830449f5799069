"""One client's conversation as a pure machine: `machine.py` joins the parts."""
