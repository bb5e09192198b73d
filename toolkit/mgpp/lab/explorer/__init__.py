"""Explore the prior on real weights in the browser, as a notebook's widget or as a page.

`content.py` and `sources.py` prepare what is shown, `colors.py` its colours. The JavaScript lies beside them and needs
no framework and no build: `formulas.js` (the penalties once more), `counts.js` (histograms), `view.js` (what one side
shows), `words.js` (sentences), `scales.js`, `panel.js`, `pictures.js` and `strip.js` (SVG), `hash.js` (the address),
`save.js` (files), `tour.js` and `explorer.js` (the controls).
"""
