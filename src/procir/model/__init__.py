"""procir.model"""
