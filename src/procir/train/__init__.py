"""procir.train"""
