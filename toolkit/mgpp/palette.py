"""Name colours that colour-blind readers can tell apart (Okabe & Ito 2008), and two greys."""

BLACK, BLUE, ORANGE, GREEN = "#000000", "#0072B2", "#E69F00", "#009E73"
VERMILION, PURPLE, SKY = "#D55E00", "#CC79A7", "#56B4E9"
GREY, DARK_GREY = "#767676", "#3A3A3A"
