"""procir.recipes"""
