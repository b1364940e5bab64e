"""`linnet score`: image sets of any size to Parquet, on the cores of this machine or on a Ray cluster.

The set is cut into shards; a shard is one task and one file, named by its number, and its content depends on nothing
but the bundle and the images. So it does not matter who computes a shard, nor how often: a run that was stopped
continues with the shards that are missing, and a node that dies costs the shards it was at.
"""
