"""Train the runs of the study: python -m studies.adam spike --seeds 3 --jobs 2"""

from studies.adam.experiments import main

main()
