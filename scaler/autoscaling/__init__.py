"""How many shards there should be, told to whoever starts them: KEDA over gRPC, or a command of the operator's."""
