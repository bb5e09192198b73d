"""The explorer: the prior on real weights, computed and drawn in the browser, as a notebook's widget and as a page.

What is shown is prepared in `content.py`. The JavaScript lies beside it and needs no framework and no build:
`formulas.js` (the prior once more), `counts.js` (histograms), `panels.js` (pictures), `explorer.js` (the controls).
"""
