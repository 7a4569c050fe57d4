"""What the three stages ask: prompts as Markdown, one folder a domain, beside the schemas of their answers."""
