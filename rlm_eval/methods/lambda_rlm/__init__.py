"""λ-RLM: a recursion planned before the run, over typed combinators; no generated code."""

from rlm_eval.methods.lambda_rlm.method import LambdaRlm as LambdaRlm
