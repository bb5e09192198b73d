"""Run the consistency simulation: python -m studies.consistency --out data/consistency"""

from studies.consistency.simulation import main

main()
