"""procir.report"""
