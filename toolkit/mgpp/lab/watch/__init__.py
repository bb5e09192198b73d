"""Follow runs while they train, in the browser or in a notebook.

`state.py` reads a folder of runs, `server.py` answers a page on this machine, `widget.py` does the same in a notebook.
Both show `watch.js`, which draws with the explorer's parts.
"""
