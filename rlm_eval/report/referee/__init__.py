"""What a referee would ask of a run, ours or imported: `rlm-eval referee RUN`.

`evidence` reads the run, `checks` look for artefacts (one function each), `claims` tests each pair
of methods and words the sentence that may be printed, `page` writes it all. No model is called.
"""
