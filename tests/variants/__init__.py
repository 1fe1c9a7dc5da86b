"""One small decoder written in many ways, each of them right: drift must accuse none.

Each way has twins with a fault that is natural in it: drift must find each, and say where it is.
"""
