//! The control plane: the daemon that knows all nodes of a cluster, decides which of them runs a module, and
//! starts, watches and moves it (heartbeats, quorum and witness, failover, fencing, virtual addresses).
//!
//! Nothing of it is built yet: today a pair of engines (`fsrepl::node`) is started by hand, and an operator
//! decides which one leads.
