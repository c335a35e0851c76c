import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * What is known of the VM service's use of its template: the first on the class path of that name, formatted with the machine's user and key.
 * With a folder as its third argument it formats every `*.template` in it instead, to `*.user-data`.
 */
public final class Service {
    public static void main(String[] arguments) throws Exception {
        if (arguments.length == 3) {
            formatAll(Path.of(arguments[2]), arguments);
            return;
        }
        ClassLoader classPath = Service.class.getClassLoader();
        try (InputStream template = classPath.getResourceAsStream("ec2/linux_cloud_init.yaml")) {
            System.out.write(format(template.readAllBytes(), arguments));
            System.out.flush();
        }
        System.err.println("options: colour=" + System.getProperty("colour") + " patch=" + (classPath.getResource("patch.txt") != null)
            + " heap=" + Runtime.getRuntime().maxMemory() / (1 << 20));
    }

    private static void formatAll(Path folder, String[] arguments) throws Exception {
        List<Path> templates;
        try (var files = Files.list(folder)) {
            templates = files.filter(file -> file.toString().endsWith(".template")).toList();
        }
        for (Path template : templates) {
            Files.write(Path.of(template.toString().replaceFirst("template$", "user-data")), format(Files.readAllBytes(template), arguments));
        }
    }

    private static byte[] format(byte[] template, String[] arguments) {
        String text = new String(template, StandardCharsets.UTF_8);
        return String.format(text, arguments[0], arguments[1]).getBytes(StandardCharsets.UTF_8);
    }
}
