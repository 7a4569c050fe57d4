"""procir.evaluate.baselines"""
