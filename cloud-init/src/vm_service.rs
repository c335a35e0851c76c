//! The VM service of CircleCI Server 2.19 and later 2.x: the machines that it makes for `machine` and remote Docker jobs are born behind the mirror.
//!
//! The service starts a machine with a template that lies in its own program, `/service/app.jar`, as `ec2/linux_cloud_init.yaml`. Before it starts, it sources `/etc/circleconfig/vm-service/customizations` (inside of its
//! container: `/circleconfig/vm-service/customizations`), then it runs `java $JAVA_OPTS …` with a main class. Of a class path, Java takes a resource from the first entry that has it: so a [block] in that file
//! writes a [template] below `/resources`, and puts `/resources` before the service's own entry.
//!
//! * [`template`]: what a machine is born with, in the quoting of Java's `String.format`.
//! * [`block`]: the lines of shell that put it in force.
//! * [`customizations`]: the block put into a file that is also others', and taken out of it; what is to be said of such a file.
//! * [`Version`]: which servers can have it.

pub mod block;
pub mod customizations;
mod guide;
pub mod statements;
pub mod template;
mod version;

pub use self::block::Block;
pub use self::version::{Unsuitable, Version};

/// The file, on the services machine.
pub const CUSTOMIZATIONS: &str = "/etc/circleconfig/vm-service/customizations";

/// The same file in the service's container.
pub const CUSTOMIZATIONS_INSIDE: &str = "/circleconfig/vm-service/customizations";

/// Where our template is written, in the container.
pub const TEMPLATE_PATH: &str = "/resources/ec2/linux_cloud_init.yaml";

/// The service's program, which has the template that ours goes before.
pub const JAR: &str = "/service/app.jar";

/// The template's name in it.
pub const RESOURCE: &str = "ec2/linux_cloud_init.yaml";

/// The container's name: `docker restart vm-service` puts a new template in force.
pub const CONTAINER: &str = "vm-service";

/// The class path that puts our template before the service's, as the guide has it.
const SHADOWING: &str = "-cp /resources:/service/app.jar";

/// What is still to be done by hand once the service has the new template: machines that wait for jobs were born with the old one.
pub const RECYCLE: &str = "\
Machines that were allocated before keep the old template until they are recycled; the service does that once a day. To have it now:
  1. Management console (port 8800), Settings, VM Provider: note how many machines are pre-allocated for `machine` and for remote Docker, set both to 0, save.
  2. When no job runs in one of the old machines, terminate in EC2 those that the service made and that are still there.
  3. Set both numbers to what they were, save. The machines that are made now have the new template.
Windows machines have a template of their own, which this does not touch.
";

#[cfg(test)]
mod tests {
    /// As CircleCI's documentation has it.
    pub(super) const GUIDE: &str = r#"export JAVA_OPTS='-cp /resources:/service/app.jar'
export DOCKER_MIRROR_HOSTNAME="http://192.0.2.1"
mkdir -p /resources/ec2
cat > /resources/ec2/linux_cloud_init.yaml << EOD
#cloud-config
system_info:
  default_user:
    name: "%1\$s"
ssh_authorized_keys:
  - "%2\$s"
runcmd:
  - bash -c 'if [ ! -f /etc/docker/daemon.json ]; then mkdir -p /etc/docker; echo "{}" > /etc/docker/daemon.json; fi'
  - bash -c 'cat <<< \$(jq ".\"registry-mirrors\" = [\"$DOCKER_MIRROR_HOSTNAME\"]" /etc/docker/daemon.json) > /etc/docker/daemon.json'
  - systemctl restart docker.service
EOD
"#;
}
