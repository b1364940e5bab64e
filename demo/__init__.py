"""The web page: a client of the service like any other, through `linnet_client`.

Must not import the service, nor anything else of ours.
"""
