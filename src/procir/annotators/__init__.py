"""Annotators: models that answer questions about pictures over HTTP, and the ledger of their paid answers."""
