def report(r): return {}
def plots(r,f): pass
def write_into(p,f): pass
