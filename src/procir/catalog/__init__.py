"""procir.catalog"""
