//! The files of `modules/`, compiled into the binary. A name here is a folder there; what each folder holds stands in
//! its `template.toml` as well, and a test compares.

/// A file of a module: its name and its text.
pub(super) type Text = (&'static str, &'static str);

/// One folder as it was when the binary was built.
pub(super) struct Source {
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) module: &'static str,
    pub(super) files: &'static [Text],
}

macro_rules! folder {
    ($name:literal: $($file:literal)* + $($shared:literal)*) => {
        Source {
            name: $name,
            description: include_str!(concat!("../../../modules/", $name, "/template.toml")),
            module: include_str!(concat!("../../../modules/", $name, "/module.toml")),
            files: &[
                ("README.md", include_str!(concat!("../../../modules/", $name, "/README.md"))),
                $(($file, include_str!(concat!("../../../modules/", $name, "/", $file))),)*
                $(($shared, include_str!(concat!("../../../modules/shared/", $shared))),)*
            ],
        }
    };
}

/// In the order in which they are shown.
pub(super) const SOURCES: &[Source] = &[
    folder!("mirror": "start" "stop" "check-running" + "lib.sh" "generic.sh"),
    folder!("farm": "start" "stop" "check-running" + "lib.sh" "generic.sh"),
    folder!("service": "start" "stop" "check-running" + "lib.sh" "generic.sh"),
    folder!("postgresql": "start" "stop" "check-sql" "server.sh" + "lib.sh"),
    folder!("mysql": "start" "stop" "check-sql" "server.sh" + "lib.sh" "mysql.sh"),
    folder!("mariadb": "start" "stop" "check-sql" "server.sh" + "lib.sh" "mysql.sh"),
    folder!("oracle": "start" "stop" "check-sql" "server.sh" + "lib.sh"),
    folder!("firebird": "start" "stop" "check-sql" "server.sh" + "lib.sh"),
    folder!("sqlserver": "start" "stop" "check-sql" "server.sh" + "lib.sh"),
    folder!("nginx": "start" "stop" "check-http" "server.sh" + "lib.sh" "web.sh"),
    folder!("apache": "start" "stop" "check-http" "server.sh" + "lib.sh" "web.sh"),
    folder!("docker": "start" "stop" "check-container" "server.sh" "compose.sh" + "lib.sh" "container.sh"),
    folder!("podman": "start" "stop" "check-container" "server.sh" + "lib.sh" "container.sh"),
    folder!("kvm": "start" "stop" "check-guest" "server.sh" + "lib.sh"),
    folder!("k3s": "start" "stop" "check-api" "server.sh" + "lib.sh"),
];
