"""procir.evaluate"""
