"""Run the DeepSeek command line ``dsh`` as a harness, by its lines of JSON."""
