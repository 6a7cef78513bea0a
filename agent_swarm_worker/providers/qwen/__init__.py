"""Run Qwen Code as a harness, over the Agent Client Protocol."""
