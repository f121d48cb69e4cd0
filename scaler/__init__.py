"""Where calls run: the shard, its pace, and the policies that move, degrade and admit."""
