"""Model servers that the harness starts: vLLM, llama.cpp, transformers."""
