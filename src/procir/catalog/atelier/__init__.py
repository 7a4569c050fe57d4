"""procir.catalog.atelier"""
