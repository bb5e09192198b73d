"""Explore the prior on real weights in the browser, as a notebook's widget or as a page.

`content.py` prepares what is shown. The JavaScript lies beside it and needs no framework and no build:
`formulas.js` (the prior once more), `counts.js` (histograms), `panels.js` (pictures), `explorer.js` (the controls).
"""
