"""A page over services, for a browser: what `status`, `doctor` and `top` say, in pictures. Pure.

It loads nothing from elsewhere. All of it is escaped by the writer of the standard library's ElementTree.
"""
